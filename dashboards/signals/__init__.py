"""What can be seen: one file for each subject, one constant for each signal."""
