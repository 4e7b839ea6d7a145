%% The supervisors that the benchmarks measure.
-module(bench_supervisor).
-behaviour(supervisor).

-export([of_many/0, of_one/1]).
-export([init/1]).

%% One whose children are added while it runs.
of_many() -> supervisor:start_link(?MODULE, many).

%% One with a single child that tells Observer of each of its starts. It never gives up.
of_one(Observer) -> supervisor:start_link(?MODULE, {one, Observer}).

init(many) ->
    {ok, {#{strategy => simple_one_for_one}, [child([])]}};
init({one, Observer}) ->
    {ok, {#{strategy => one_for_one, intensity => 1000000, period => 1}, [child([Observer])]}}.

child(Arguments) -> #{id => counter, start => {bench_counter, start_link, Arguments}}.
