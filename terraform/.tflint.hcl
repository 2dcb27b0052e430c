# Every rule of the linter's own ruleset, which needs no network.
plugin "terraform" {
  enabled = true
  preset  = "all"
}
