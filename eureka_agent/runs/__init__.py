"""One run is one folder: journal, blobs, locks, exports, and everything that reads them back."""
