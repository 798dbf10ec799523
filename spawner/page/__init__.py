"""The page: servers, their boots and a launch form for people with a browser, beside the APIs.

Rendered on the server, one small script that asks for fresh parts when something happens; no build step.
All that comes from guests or users is escaped; scripts from elsewhere and inline ones are forbidden (CSP).
"""
