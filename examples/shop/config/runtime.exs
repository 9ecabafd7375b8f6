import Config

# Read each time the release boots, for `bin/server` and for `bin/migrate` alike.

if System.get_env("PHX_SERVER") do
  config :shop, Shop.Endpoint, server: true
end

if config_env() == :prod do
  database_url =
    System.get_env("DATABASE_URL") ||
      raise """
      environment variable DATABASE_URL is missing.
      For example: ecto://USER:PASS@HOST/DATABASE
      """

  config :shop, Shop.Repo, url: database_url

  secret_key_base =
    System.get_env("SECRET_KEY_BASE") ||
      raise """
      environment variable SECRET_KEY_BASE is missing.
      You can generate one with: openssl rand -base64 48
      """

  config :shop, Shop.Endpoint,
    port: String.to_integer(System.get_env("PORT") || "4000"),
    drain_delay: String.to_integer(System.get_env("DRAIN_DELAY_MS") || "3000"),
    secret_key_base: secret_key_base
end
