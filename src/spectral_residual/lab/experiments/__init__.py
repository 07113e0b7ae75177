"""The paper's experiments as data, a command that runs them, and one that tabulates the results.

`definitions` reads what is trained, `runner` starts a `worker` for each run, which leaves a line in
`results`; `summary` puts the lines together, `report` and `figures` show them, `views` draws what
the networks see.
"""
