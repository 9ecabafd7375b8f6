import Config

config :shop, repos: [Shop.Repo]
config :logger, :console, format: "$time [$level] $message\n"
