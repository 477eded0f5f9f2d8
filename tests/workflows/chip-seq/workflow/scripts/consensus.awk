{ n++ } END { print n " lines" }
