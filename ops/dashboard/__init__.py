"""The operators' pages: rendered here, complete without JavaScript, served by `relations api` at `/`.

`routes` gathers them, `endpoint` serves them; `page` is a request and an answer as values, `session`
says who asks; `pages` gather what the templates show.
"""
