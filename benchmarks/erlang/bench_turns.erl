%% Erlang's side of the benchmarks of processes.
%%
%% It stands by: each line on stdin names a turn and how many operations it takes, and is answered by one line with the
%% operations per second, then p50 and p99 in microseconds; 0 where a turn has no such figure. It ends with stdin.
-module(bench_turns).

-export([main/0]).

-define(CALLERS, 100).
-define(BURST, 10000).
-define(PAUSE_MS, 2).

main() ->
    logger:set_primary_config(level, none),
    spawn(fun() ->
        {ok, Counter} = bench_counter:start(),
        io:format("OTP ~s, ~b schedulers~n", [erlang:system_info(otp_release), erlang:system_info(schedulers_online)]),
        stand_by(Counter)
    end).

stand_by(Counter) ->
    case io:get_line("") of
        Line when is_list(Line) ->
            [What, Count] = string:lexemes(Line, " \n"),
            {PerS, P50, P99} = alone(fun() -> turn(What, list_to_integer(Count), Counter) end),
            io:format("~.3f ~.3f ~.3f~n", [PerS, P50, P99]),
            stand_by(Counter);
        _ ->
            halt()
    end.

%% Each turn is a process of its own, with a fresh heap.
alone(Turn) ->
    {_, Monitor} = spawn_monitor(fun() -> exit({figures, Turn()}) end),
    receive
        {'DOWN', Monitor, process, _, {figures, Figures}} -> Figures
    end.

%% One caller at full speed; the percentiles come from a second pass with a clock around each call.
turn("call", Count, Counter) ->
    PerS = rate(Count, fun() -> call(Count, Counter) end),
    {P50, P99} = percentiles(timed_calls(Count div 10, Counter, [])),
    {PerS, P50, P99};
turn("call_100", Count, Counter) ->
    Each = Count div ?CALLERS,
    {rate(Each * ?CALLERS, fun() ->
        Callers = [spawn_monitor(fun() -> call(Each, Counter) end) || _ <- lists:seq(1, ?CALLERS)],
        [receive {'DOWN', Monitor, process, _, normal} -> ok end || {_, Monitor} <- Callers]
    end), 0.0, 0.0};
%% In bursts, as the other sides do; until the last one is handled.
turn("cast", Count, Counter) ->
    {rate(Count, fun() -> cast_bursts(Count, Counter) end), 0.0, 0.0};
turn("start", Count, _) ->
    Before = erlang:monotonic_time(nanosecond),
    Started = start(Count, []),
    PerS = per_s(Count, erlang:monotonic_time(nanosecond) - Before),
    finish(Started),
    {PerS, 0.0, 0.0};
%% These stay, for the other side of the pipe looks at the memory of this process.
turn("keep_bare", Count, _) ->
    {rate(Count, fun() -> keep(Count, fun bench_counter:start/0) end), 0.0, 0.0};
turn("keep_supervised", Count, _) ->
    {ok, Supervisor} = bench_supervisor:of_many(),
    unlink(Supervisor),
    {rate(Count, fun() -> keep(Count, fun() -> supervisor:start_child(Supervisor, []) end) end), 0.0, 0.0};
%% From the kill to the init of the next one, with a pause between two kills.
turn("restart", Count, _) ->
    {ok, Supervisor} = bench_supervisor:of_one(self()),
    Times = receive {up, First, _} -> restarts(Count, First, []) end,
    unlink(Supervisor),
    finish([Supervisor]),
    {P50, P99} = percentiles(Times),
    {0.0, P50, P99};
%% A process for one result, which is waited for.
turn("task", Count, _) ->
    {rate(Count, fun() -> tasks(Count) end), 0.0, 0.0};
%% Set, then cancelled before they are due.
turn("timer", Count, _) ->
    {rate(Count, fun() ->
        Timers = [erlang:send_after(60000, self(), tick) || _ <- lists:seq(1, Count)],
        [erlang:cancel_timer(Timer) || Timer <- Timers]
    end), 0.0, 0.0}.

call(0, _) -> ok;
call(Count, Counter) ->
    bench_counter:increment(Counter, 1),
    call(Count - 1, Counter).

timed_calls(0, _, Times) -> Times;
timed_calls(Count, Counter, Times) ->
    Before = erlang:monotonic_time(nanosecond),
    bench_counter:increment(Counter, 1),
    timed_calls(Count - 1, Counter, [erlang:monotonic_time(nanosecond) - Before | Times]).

cast(0, _) -> ok;
cast(Count, Counter) ->
    bench_counter:add(Counter, 1),
    cast(Count - 1, Counter).

cast_bursts(Count, _) when Count =< 0 -> ok;
cast_bursts(Count, Counter) ->
    cast(min(Count, ?BURST), Counter),
    bench_counter:increment(Counter, 0),
    cast_bursts(Count - ?BURST, Counter).

start(0, Started) -> Started;
start(Count, Started) ->
    {ok, Process} = bench_counter:start(),
    start(Count - 1, [Process | Started]).

keep(0, _) -> ok;
keep(Count, Start) ->
    {ok, _} = Start(),
    keep(Count - 1, Start).

restarts(0, _, Times) -> Times;
restarts(Count, Child, Times) ->
    timer:sleep(?PAUSE_MS),
    Before = erlang:monotonic_time(nanosecond),
    exit(Child, kill),
    receive
        {up, Next, At} -> restarts(Count - 1, Next, [At - Before | Times])
    end.

tasks(0) -> ok;
tasks(Count) ->
    {_, Monitor} = spawn_monitor(fun() -> exit({result, Count}) end),
    receive
        {'DOWN', Monitor, process, _, {result, Count}} -> tasks(Count - 1)
    end.

%% Kill, and wait until the last has gone.
finish(Processes) ->
    Monitors = [erlang:monitor(process, Process) || Process <- Processes],
    [exit(Process, kill) || Process <- Processes],
    [receive {'DOWN', Monitor, process, _, _} -> ok end || Monitor <- Monitors].

rate(Count, Work) ->
    Before = erlang:monotonic_time(nanosecond),
    Work(),
    per_s(Count, erlang:monotonic_time(nanosecond) - Before).

per_s(Count, Nanoseconds) -> Count / (Nanoseconds / 1.0e9).

percentiles(Times) ->
    Sorted = list_to_tuple(lists:sort(Times)),
    {percentile(Sorted, 0.5), percentile(Sorted, 0.99)}.

percentile(Sorted, Share) ->
    element(min(tuple_size(Sorted), trunc(tuple_size(Sorted) * Share) + 1), Sorted) / 1000.0.
