"""Getting videos: the windows that a folder lacks, asked for one after the other with yt-dlp."""
