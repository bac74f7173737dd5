"""Images of data and networks: rank lists, classes over images, sheets of maps, confusion matrices."""
