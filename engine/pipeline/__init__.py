"""One study, stage by stage, each stored under its content key."""
