"""The command line, `trl-forking COMMAND`: one module for each command, and what several of them share."""
