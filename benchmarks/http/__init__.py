"""``POST /tasks`` under load: ours, a plain Quart view with one Redis call, and FastAPI with arq.

compare    starts each with its own Redis, drives it with wrk, gives medians
post.lua   what wrk sends, and its figures as JSON
plain      Quart on Hypercorn, one SET
fastarq    FastAPI on uvicorn, one arq job
"""
