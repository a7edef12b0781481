"""Downloading the videos that a folder lacks, one after the other, with yt-dlp."""
