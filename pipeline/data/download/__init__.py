"""Getting videos: the windows that a folder lacks, asked for one after the other with yt-dlp."""

YOUTUBE_HOME = "https://www.youtube.com/"
YOUTUBE = YOUTUBE_HOME + "watch?v={id}"
