defmodule Shop.MixProject do
  use Mix.Project

  def project do
    [
      app: :shop,
      version: "1.0.0",
      elixir: "~> 1.14",
      start_permanent: Mix.env() == :prod,
      deps: []
    ]
  end

  # The database driver is Debian's erlang-p1-pgsql, so that nothing is fetched. It speaks SCRAM through :xmpp.
  def application do
    [mod: {Shop.Application, []}, extra_applications: [:logger, :p1_pgsql, :xmpp]]
  end
end
