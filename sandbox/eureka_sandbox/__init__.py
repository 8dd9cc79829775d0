"""Both sides of the wall: `worker` runs inside a box, `backends` build the box, `protocol` is what crosses."""
