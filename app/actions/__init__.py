"""What a person can do, a verb a file. Actions take a session and never commit; the edge's transaction does."""
