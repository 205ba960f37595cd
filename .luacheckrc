std = "lua51"
read_globals = { "cjson", "redis" }
max_line_length = 124
ignore = { "431" } -- a local may have the name of one around it
