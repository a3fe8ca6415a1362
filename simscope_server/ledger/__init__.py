"""What is true: the database, the rules that change it, and the process that writes it."""
