"""Looking at programs: drawings (`svg`), printed stages and tables (`text`). Nothing here changes a program."""
