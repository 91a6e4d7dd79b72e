"""Our queue and its peers, measured side by side. ``make bench`` runs it; README.md says what each case does.

__main__    the command line
  runner    interleaves rounds, cases and peers; one that fails is noted and the rest goes on
    cases   what is measured, and how
      stage       one run: a fresh server, the peer's processes, a ledger; all gone at the end
        server    the real Redis, and its figures
        measure   CPU and memory of a process tree
      catalog     versions.toml: who takes part, pinned
    venvs   one virtual environment a peer
  http      the same for POST /tasks, with wrk
  growth      ours alone: more tasks, more workers, a file on disk
  report    Markdown, JSON and the chart of it
peers/      one adapter a system, run inside that system's environment
"""
