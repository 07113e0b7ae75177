"""Tables, figures, HTML pages and files: one way to make each, for the whole package."""
