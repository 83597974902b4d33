"""The Compare page: charts of the compared runs, and their paired differences."""
