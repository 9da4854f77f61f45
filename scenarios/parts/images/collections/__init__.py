"""Published collections of photographs in their own layouts, whose files list images, labels and boxes."""
