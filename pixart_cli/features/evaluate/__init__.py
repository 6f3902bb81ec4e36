"""Evaluation: suites of questions, pictures that answer them, verdicts, and a table of shares."""
