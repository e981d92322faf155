"""What an iteration costs: seconds on this machine, and counts that do not depend on the machine."""
