#!/usr/bin/env escript
%%! +S 1
%% Plays scripts of supervision on OTP's own supervisor and prints what happened, as JSON.
%%
%%     escript supervisor_play.escript SCRIPTS
%%
%% SCRIPTS is a file of Erlang terms, one script each: see supervisor_record.py, which writes it and calls this.
%% One scheduler makes the order in which signals arrive the order in which they were sent.
-mode(compile).
-behaviour(gen_server).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).
-export([start_worker/2, start_branch/2]).

-define(AT_ONCE, 200).       % scripts that are played beside each other: nearly all of the time is waiting
-define(LATE, 5).           % ms that a late init or terminate takes
-define(SHUTDOWN, 60).      % ms that a child with a timed shutdown may take to stop
-define(HANG, 200).         % ms that a terminate that hangs takes
-define(QUIET, 450).        % ms without an event after which a tree is at rest
-define(WINDOW, 8).         % s: the window of restarts; OTP counts in whole seconds
-define(LONG, 9500).        % ms: a pause that is longer than the window
-define(LONG_UNITS, 1000).  % units of a script from which on a pause is a long one

main([File]) ->
    logger:set_primary_config(level, none),
    {ok, Scripts} = file:consult(File),
    Numbered = lists:zip(lists:seq(1, length(Scripts)), Scripts),
    Traces = play_all(Numbered, [], []),
    io:format("[~n~s~n]~n", [lists:join(",\n", [json(Trace) || {_, Trace} <- lists:sort(Traces)])]).

play_all([], [], Traces) ->
    Traces;
play_all([{Number, Script} | Waiting], Running, Traces) when length(Running) < ?AT_ONCE ->
    Self = self(),
    {Pid, _} = spawn_monitor(fun() -> Self ! {played, Number, play(Script)} end),
    play_all(Waiting, [Pid | Running], Traces);
play_all(Waiting, Running, Traces) ->
    receive
        {played, Number, Trace} -> play_all(Waiting, Running, [{Number, Trace} | Traces]);
        {'DOWN', _, process, Pid, normal} -> play_all(Waiting, lists:delete(Pid, Running), Traces);
        {'DOWN', _, process, _, Reason} -> exit(Reason)
    end.

%% One script

play(#{<<"root">> := Root, <<"steps">> := Steps}) ->
    Book = spawn_link(fun() -> book(#{lives => #{}, now => #{}, ids => #{}, events => [], last => now_ms()}) end),
    Self = self(),
    Holder = spawn(fun() -> process_flag(trap_exit, true), Self ! {self(), start_branch(Book, Root)}, hold() end),
    Booted = receive {Holder, {ok, _}} -> <<"ok">>; {Holder, _} -> <<"failed">> end,
    rest(Book),
    ask(Book, {note, [<<"reply">>, <<"boot">>, 0, Booted]}),
    Boot = ask(Book, take),
    {Traces, Shapes} = lists:unzip(steps(Book, Holder, Steps, 0)),
    exit(Holder, kill),
    #{<<"trace">> => [Boot | Traces], <<"shape">> => lists:last([#{} | Shapes])}.

%% What each step has led to, and the tree before it.
steps(_, _, [], _) -> [];
steps(Book, Holder, [#{<<"at">> := At} = Step | Steps], Before) ->
    Shape = shape(Book),
    [{step(Book, Holder, Step, Before), Shape} | steps(Book, Holder, Steps, At)].

step(Book, Holder, #{<<"at">> := At, <<"verb">> := Verb, <<"target">> := Target} = Step, Before) ->
    if At - Before >= ?LONG_UNITS -> timer:sleep(?LONG); true -> ok end,
    Outcome =
        case ask(Book, {whereis, Target}) of
            none -> <<"noproc">>;
            Pid -> do(Verb, Pid, Step, Book, Holder)
        end,
    rest(Book),
    ask(Book, {note, [<<"reply">>, Verb, 0, Outcome]}),
    ask(Book, take).

do(<<"crash">>, Pid, _, _, _) -> gen_server:cast(Pid, crash), <<"ok">>;
do(<<"end">>, Pid, Step, _, _) -> gen_server:cast(Pid, {quit, reason(Step)}), <<"ok">>;
do(<<"signal">>, Pid, Step, _, _) -> exit(Pid, reason(Step)), <<"ok">>;
do(<<"kill">>, Pid, _, _, _) -> exit(Pid, kill), <<"ok">>;
do(<<"stop">>, Pid, Step, _, _) -> catch gen_server:stop(Pid, reason(Step), infinity), <<"ok">>;
do(<<"leave">>, _, Step, _, Holder) -> Holder ! {leave, reason(Step)}, <<"ok">>;
do(<<"start">>, Pid, #{<<"plan">> := Plan}, Book, _) ->
    Spec = case ask(Book, {dynamic, Pid}) of true -> [Plan]; false -> spec(Book, Plan) end,
    outcome(supervisor:start_child(Pid, Spec));
do(<<"terminate">>, Pid, #{<<"word">> := Id}, Book, _) ->
    case ask(Book, {dynamic, Pid}) of
        false -> outcome(supervisor:terminate_child(Pid, Id));
        true ->
            case ask(Book, {whereis, Id}) of
                none -> <<"not_found">>;
                Child -> outcome(supervisor:terminate_child(Pid, Child))
            end
    end;
do(<<"restart">>, Pid, #{<<"word">> := Id}, _, _) -> outcome(supervisor:restart_child(Pid, Id));
do(<<"delete">>, Pid, #{<<"word">> := Id}, _, _) -> outcome(supervisor:delete_child(Pid, Id)).

outcome(ok) -> <<"ok">>;
outcome({ok, undefined}) -> <<"ignored">>;
outcome({ok, _}) -> <<"ok">>;
outcome({error, {already_started, _}}) -> <<"already_started">>;
outcome({error, Word}) when Word =:= already_present; Word =:= not_found; Word =:= running -> atom_to_binary(Word);
outcome({error, _}) -> <<"failed">>.

reason(#{<<"word">> := <<"shutdown:moved">>}) -> {shutdown, moved};
reason(#{<<"word">> := Word}) -> binary_to_atom(Word).

word(killed) -> <<"killed">>;
word({shutdown, moved}) -> <<"shutdown:moved">>;
word({planned, _}) -> <<"crash">>;
word(Reason) when is_atom(Reason) -> atom_to_binary(Reason).

hold() ->
    receive
        {leave, Reason} -> exit(Reason);
        {'EXIT', _, _} -> hold()
    end.

%% What the tree looks like

shape(Book) ->
    Now = ask(Book, now),
    maps:from_list([{Id, children(Book, Pid)} || {<<"s", _/binary>> = Id, Pid} <- maps:to_list(Now)]).

children(Book, Pid) ->
    case ask(Book, {dynamic, Pid}) of
        false -> [[Id, is_pid(Child)] || {Id, Child, _, _} <- lists:reverse(supervisor:which_children(Pid))];
        true -> lists:sort([[ask(Book, {id, Child}), true] || {_, Child, _, _} <- supervisor:which_children(Pid)])
    end.

%% Wait until nothing has happened for a while

rest(Book) ->
    timer:sleep(20),
    case now_ms() - ask(Book, last) of
        Quiet when Quiet >= ?QUIET -> ok;
        _ -> rest(Book)
    end.

now_ms() -> erlang:monotonic_time(millisecond).

%% The book: who lives, and what happened

ask(Book, Question) ->
    Ref = make_ref(),
    Book ! {self(), Ref, Question},
    receive {Ref, Answer} -> Answer end.

book(#{now := Now, ids := Ids, events := Events} = State) ->
    receive
        {From, Ref, Question} ->
            {Answer, Next} = answer(Question, State),
            From ! {Ref, Answer},
            book(Next);
        {'DOWN', _, process, Pid, Reason} ->
            {Id, Life, _} = maps:get(Pid, Ids),
            Event =
                case Reason of
                    {shutdown, {failed_to_start_child, _, _}} -> [<<"failed">>, Id, Life, <<>>];
                    _ -> [<<"end">>, Id, Life, word(Reason)]
                end,
            Left = case Now of #{Id := Pid} -> maps:remove(Id, Now); _ -> Now end,
            book(State#{now := Left, events := [Event | Events], last := now_ms()})
    end.

answer({born, Pid, Plan}, #{lives := Lives, ids := Ids, now := Now, events := Events} = State) ->
    Id = maps:get(<<"id">>, Plan),
    Life = maps:get(Id, Lives, 0) + 1,
    Does = does(Plan, Life),
    Runs = Does =:= <<>> orelse Does =:= <<"ok">> orelse Does =:= <<"late">>,
    Runs andalso monitor(process, Pid),
    {{Life, Does}, State#{
        lives := Lives#{Id => Life},
        now := if Runs -> Now#{Id => Pid}; true -> Now end,
        ids := Ids#{Pid => {Id, Life, maps:get(<<"strategy">>, Plan, none) =:= <<"dynamic">>}},
        events := [[<<"start">>, Id, Life, Does] | Events],
        last := now_ms()
    }};
answer({note, Event}, #{events := Events} = State) ->
    {ok, State#{events := [Event | Events], last := now_ms()}};
answer(take, #{events := Events} = State) ->
    {[spell(Event) || Event <- lists:reverse(Events)], State#{events := []}};
answer({whereis, Id}, #{now := Now} = State) -> {maps:get(Id, Now, none), State};
answer({id, Pid}, #{ids := Ids} = State) -> {element(1, maps:get(Pid, Ids)), State};
answer({dynamic, Pid}, #{ids := Ids} = State) -> {element(3, maps:get(Pid, Ids)), State};
answer(now, #{now := Now} = State) -> {Now, State};
answer(last, #{last := Last} = State) -> {Last, State}.

does(#{<<"type">> := <<"branch">>}, _) -> <<>>;
does(Plan, Life) ->
    case maps:get(<<"starts">>, Plan, []) of
        Starts when Life =< length(Starts) -> lists:nth(Life, Starts);
        _ -> <<"ok">>
    end.

spell(Event) -> iolist_to_binary(lists:join(" ", [spell_part(Part) || Part <- Event])).

spell_part(Part) when is_integer(Part) -> integer_to_binary(Part);
spell_part(Part) -> Part.

%% The processes

spec(Book, #{<<"id">> := Id, <<"type">> := Type} = Plan) ->
    Shutdown =
        case maps:get(<<"shutdown">>, Plan, if Type =:= <<"branch">> -> <<"endless">>; true -> <<"timed">> end) of
            <<"timed">> -> ?SHUTDOWN;
            <<"endless">> -> infinity;
            <<"brutal">> -> brutal_kill
        end,
    Kind = case Type of <<"branch">> -> supervisor; <<"worker">> -> worker end,
    #{id => Id, start => {?MODULE, start_worker, [Book, Plan]},
      restart => binary_to_atom(maps:get(<<"restart">>, Plan, <<"permanent">>)),
      significant => maps:get(<<"significant">>, Plan, false), shutdown => Shutdown, type => Kind}.

start_worker(Book, #{<<"type">> := <<"branch">>} = Plan) -> start_branch(Book, Plan);
start_worker(Book, Plan) -> gen_server:start_link(?MODULE, {worker, Book, Plan}, []).

start_branch(Book, Plan) -> supervisor:start_link(?MODULE, {branch, Book, Plan}).

init({branch, Book, Plan}) ->
    ask(Book, {born, self(), Plan}),
    Flags = #{intensity => maps:get(<<"max_restarts">>, Plan, 1), period => ?WINDOW,
              auto_shutdown => binary_to_atom(maps:get(<<"auto_shutdown">>, Plan, <<"never">>))},
    case maps:get(<<"strategy">>, Plan, <<"one_for_one">>) of
        <<"dynamic">> ->
            Each = spec(Book, maps:get(<<"each">>, Plan)),
            {ok, {Flags#{strategy => simple_one_for_one}, [Each#{start := {?MODULE, start_worker, [Book]}}]}};
        Strategy ->
            Children = [spec(Book, Child) || Child <- maps:get(<<"children">>, Plan, [])],
            {ok, {Flags#{strategy => binary_to_atom(Strategy)}, Children}}
    end;
init({worker, Book, Plan}) ->
    process_flag(trap_exit, maps:get(<<"traps">>, Plan, true)),
    {Life, Does} = ask(Book, {born, self(), Plan}),
    case Does of
        <<"ok">> -> {ok, {Book, Plan, Life}};
        <<"late">> -> timer:sleep(?LATE), {ok, {Book, Plan, Life}};
        <<"raise">> -> error(planned);
        <<"stop">> -> {stop, no};
        <<"ignore">> -> ignore
    end.

handle_call(_, _, State) -> {reply, ok, State}.

handle_cast(crash, _) -> error(planned);
handle_cast({quit, Reason}, State) -> {stop, Reason, State}.

handle_info(_, State) -> {noreply, State}.

terminate(Reason, {Book, Plan, Life}) ->
    ask(Book, {note, [<<"terminate">>, maps:get(<<"id">>, Plan), Life, word(Reason)]}),
    case maps:get(<<"ending">>, Plan, <<"ok">>) of
        <<"ok">> -> ok;
        <<"late">> -> timer:sleep(?LATE);
        <<"raise">> -> error(planned);
        <<"hang">> -> timer:sleep(?HANG)
    end.

%% JSON of maps, lists, binaries and booleans

json(Map) when is_map(Map) ->
    ["{", lists:join(",", [[json(Key), ":", json(Value)] || {Key, Value} <- lists:sort(maps:to_list(Map))]), "}"];
json(List) when is_list(List) -> ["[", lists:join(",", [json(Item) || Item <- List]), "]"];
json(Text) when is_binary(Text) -> ["\"", Text, "\""];
json(Word) when is_boolean(Word) -> atom_to_list(Word).
