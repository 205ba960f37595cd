-- What `make lint` checks is the library as the server loads it: the files of relay/store/lua, joined.
std = "lua51"
read_globals = { "cjson", "redis" }
max_line_length = false
ignore = { "431" } -- a local may have the name of one around it
