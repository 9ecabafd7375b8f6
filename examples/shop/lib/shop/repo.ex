defmodule Shop.Repo do
  @moduledoc """
  The database, through one connection that is made when it is needed and made again after an error.
  """
  use GenServer

  @timeout 3_000

  def start_link(_), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc "Runs one statement: `{:ok, rows}`, each row a list of binaries, or `{:error, message}`."
  def query(sql) do
    GenServer.call(__MODULE__, {:query, sql}, 2 * @timeout)
  catch
    :exit, _ -> {:error, "the database does not answer"}
  end

  @doc "Opens a connection as `DATABASE_URL` says."
  def connect do
    uri = URI.parse(Application.fetch_env!(:shop, __MODULE__)[:url])
    [user, password] = uri.userinfo |> String.split(":", parts: 2) |> Enum.map(&URI.decode/1)

    :pgsql.connect(
      host: to_charlist(uri.host),
      port: uri.port || 5432,
      database: String.trim_leading(uri.path, "/"),
      user: user,
      password: password,
      as_binary: true,
      connect_timeout: @timeout
    )
  end

  @doc "Runs statements as one simple query. After an error the server has rolled back what was open."
  def run(connection, sql, timeout \\ :infinity) do
    {:ok, results} = :pgsql.squery(connection, sql, timeout)

    case List.keyfind(results, :error, 0) do
      {:error, fields} -> {:error, message(fields)}
      nil -> {:ok, Enum.flat_map(results, &rows/1)}
    end
  end

  defp rows({_command, _columns, rows}), do: rows
  defp rows(_), do: []

  defp message(fields) do
    Enum.find_value(fields, inspect(fields), fn
      {kind, text} when kind in [:message, ?M] -> to_string(text)
      _ -> nil
    end)
  end

  @impl true
  def init(_), do: {:ok, nil}

  @impl true
  def handle_call(request, from, nil) do
    case connect() do
      {:ok, connection} ->
        Process.monitor(connection)
        handle_call(request, from, connection)

      {:error, reason} ->
        {:reply, {:error, "no connection to the database: #{inspect(reason)}"}, nil}
    end
  end

  def handle_call({:query, sql}, _from, connection) do
    {:reply, run(connection, sql, @timeout), connection}
  catch
    :exit, _ ->
      Process.exit(connection, :kill)
      {:reply, {:error, "the database does not answer"}, nil}
  end

  @impl true
  def handle_info({:DOWN, _, :process, connection, _}, connection), do: {:noreply, nil}
  def handle_info(_, state), do: {:noreply, state}
end
