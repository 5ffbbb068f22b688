// Tests that start processes wait for them most of the time.
[assembly: CollectionBehavior(MaxParallelThreads = 4)]
