"""A second front end to the application: takes jobs, runs each in a process of its own, reports to the database."""
