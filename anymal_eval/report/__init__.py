"""What people and pipelines read: tables of a run, tables beside a paper's, and what follows from them."""
