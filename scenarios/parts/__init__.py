"""Parts that scenarios are made of: readers of data folders, the decoded cache, augmentation on the device."""
