defmodule Shop.Release do
  @moduledoc """
  Tasks for a release, where Mix is not there: `bin/shop eval Shop.Release.migrate`.
  """
  @app :shop

  def migrate do
    load_app()
    for repo <- repos(), do: Shop.Migrator.run(repo, :up, :all)
  end

  @doc "Undoes every migration from the newest down to and including `version`."
  def rollback(repo, version) do
    load_app()
    Shop.Migrator.run(repo, :down, version)
  end

  defp repos, do: Application.fetch_env!(@app, :repos)

  # The application itself is not started: its migration must run where its server would not.
  defp load_app do
    {:ok, _} = Application.ensure_all_started(:p1_pgsql)
    {:ok, _} = Application.ensure_all_started(:xmpp)
    Application.load(@app)
  end
end
