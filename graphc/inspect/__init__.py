"""Looking at programs: drawings (`svg`, `layout`). Nothing here changes a program."""
