defmodule Shop.Application do
  use Application

  @impl true
  def start(_type, _args) do
    # Stopped in reverse order: the endpoint drains while requests can still run and ask the database.
    children =
      [Shop.Repo, {Task.Supervisor, name: Shop.Requests}] ++
        if(Shop.Endpoint.server?(), do: [Shop.Endpoint], else: [])

    Supervisor.start_link(children, strategy: :one_for_one, name: Shop.Supervisor)
  end
end
