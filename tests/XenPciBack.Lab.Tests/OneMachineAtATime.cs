// One emulated machine at a time: each needs 3 GiB and both cores.
[assembly: CollectionBehavior(DisableTestParallelization = true)]
