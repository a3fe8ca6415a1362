"""What is asked of the database: statements, rows, and what they are shown as. Cannot write."""
