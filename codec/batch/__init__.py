"""Collections: many pictures at once, on one machine or a cluster, resumable.

`sources` finds what there is, `manifest` remembers what is done, `job` plans the rest, `local` and
`ray_engine` hand it to workers, `worker` does one picture, `store` reads and writes whole files.
"""
