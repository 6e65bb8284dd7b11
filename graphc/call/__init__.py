"""The compiled callable: its parameters, what runs behind a call, and whether it does what was written."""
