defmodule Shop.Endpoint do
  @moduledoc """
  A small HTTP server; one connection, one request.

  On SIGTERM the VM stops the supervision tree and with it this process. It goes on accepting for a moment, because
  clients still arrive until every node knows that this pod is going, then closes the door and waits for what runs.
  """
  use GenServer, shutdown: 30_000
  require Logger

  @acceptors 16

  def server?, do: Keyword.get(config(), :server, false)
  def start_link(_), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)
  defp config, do: Application.get_env(:shop, __MODULE__, [])

  @impl true
  def init(_) do
    Process.flag(:trap_exit, true)
    port = Keyword.fetch!(config(), :port)
    options = [:binary, packet: :http_bin, active: false, reuseaddr: true, backlog: 1024]
    {:ok, door} = :gen_tcp.listen(port, options)
    for _ <- 1..@acceptors, do: spawn_link(fn -> accept(door) end)
    Logger.info("shop #{version()} listens on port #{port}")
    {:ok, door}
  end

  @impl true
  def handle_info({:EXIT, _, reason}, door), do: {:stop, {:acceptor, reason}, door}

  @impl true
  def terminate(_reason, door) do
    Logger.info("draining")
    Process.sleep(Keyword.get(config(), :drain_delay, 0))
    :gen_tcp.close(door)
    wait_for_requests()
    Logger.info("drained")
  end

  defp wait_for_requests do
    if Task.Supervisor.children(Shop.Requests) != [] do
      Process.sleep(50)
      wait_for_requests()
    end
  end

  defp accept(door) do
    case :gen_tcp.accept(door) do
      {:ok, socket} ->
        {:ok, task} = Task.Supervisor.start_child(Shop.Requests, fn -> serve(socket) end)
        # Fails if the client has gone already; the task finds the same.
        _ = :gen_tcp.controlling_process(socket, task)
        accept(door)

      {:error, :closed} ->
        Process.sleep(:infinity)

      {:error, reason} ->
        Logger.warning("accept: #{inspect(reason)}")
        Process.sleep(100)
        accept(door)
    end
  end

  defp serve(socket) do
    with {:ok, {:http_request, method, {:abs_path, target}, _}} <- :gen_tcp.recv(socket, 0, 10_000),
         :ok <- skip_headers(socket) do
      [path | _] = String.split(target, "?")
      {status, body} = if method in [:GET, :HEAD], do: Shop.Web.get(path), else: {405, "GET only\n"}
      body_sent = if method == :HEAD, do: "", else: body

      :gen_tcp.send(socket, [
        "HTTP/1.1 #{status} #{reason(status)}\r\ncontent-type: text/plain; charset=utf-8\r\n",
        "content-length: #{byte_size(body)}\r\nconnection: close\r\n\r\n",
        body_sent
      ])
    end

    :gen_tcp.close(socket)
  end

  defp skip_headers(socket) do
    case :gen_tcp.recv(socket, 0, 10_000) do
      {:ok, :http_eoh} -> :ok
      {:ok, {:http_header, _, _, _, _}} -> skip_headers(socket)
      other -> other
    end
  end

  defp reason(200), do: "OK"
  defp reason(404), do: "Not Found"
  defp reason(405), do: "Method Not Allowed"
  defp reason(503), do: "Service Unavailable"
  defp reason(_), do: "Error"

  def version, do: to_string(Application.spec(:shop, :vsn))
end
