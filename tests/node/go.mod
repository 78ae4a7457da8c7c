// What a node of the tests' cluster needs and nobody releases: a first process, keys, an image. The standard library alone.
module tenure.dev/node

go 1.24
