"""Files of other people, looked over before anything decodes them; torch-free."""
