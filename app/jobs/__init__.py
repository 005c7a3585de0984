"""The job protocol: a row is a job; a message is only a wake-up; a worker holds the row by a lease."""
