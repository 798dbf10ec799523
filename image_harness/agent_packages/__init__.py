"""The agent as packages of distributions: .deb, .rpm, .apk, and one file that any Python runs.

`recipe` says what each package holds and asks for; `build` makes them. `scripts/` are those that the package
managers run.
"""
