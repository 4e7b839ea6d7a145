%% The gen_server that the benchmarks measure: it counts.
-module(bench_counter).
-behaviour(gen_server).

-export([start/0, start_link/0, start_link/1, increment/2, add/2]).
-export([init/1, handle_call/3, handle_cast/2]).

start() -> gen_server:start(?MODULE, none, []).

start_link() -> gen_server:start_link(?MODULE, none, []).

%% This one tells Observer when its init runs, and by which clock.
start_link(Observer) -> gen_server:start_link(?MODULE, {tell, Observer}, []).

increment(Counter, By) -> gen_server:call(Counter, {increment, By}).

add(Counter, By) -> gen_server:cast(Counter, {add, By}).

init(none) ->
    {ok, 0};
init({tell, Observer}) ->
    Observer ! {up, self(), erlang:monotonic_time(nanosecond)},
    {ok, 0}.

handle_call({increment, By}, _From, Count) -> {reply, Count + By, Count + By}.

handle_cast({add, By}, Count) -> {noreply, Count + By}.
