#!/usr/bin/env escript
%% Runs random programs on the real gen_statem and prints what happened.
%%
%%     escript gen_statem_replay.erl PROGRAMS TICK_MS
%%
%% PROGRAMS is a file of Erlang terms, one program each. What is printed is one line of JSON for each:
%% [Id, [[Tick, Kind, Content, State], ...], [[Tick, Call, Reply], ...]]. `python -m tests.otp.state_recorder` writes
%% the one and reads the other, and keeps the traces in gen_statem_traces.json beside this file.
%%
%% A program is {Id, Mode, Enter, {State, Inserts, Timeouts}, Lines, Script, Ticks}. The n-th handler that runs,
%% whichever it is, does what the n-th of Lines says; after the last one it keeps the state and answers. Times are in
%% ticks; a tick is long enough that everything of one tick has happened before the next.
-module(gen_statem_replay).
-mode(compile).
-behaviour(gen_statem).
-export([main/1, init/1, callback_mode/0, handle_event/4, terminate/3]).
-export([s0/3, s1/3, s2/3, s3/3]).

main([File, TickMs]) ->
    logger:set_primary_config(level, none),
    {ok, Programs} = file:consult(File),
    Tick = list_to_integer(TickMs),
    Self = self(),
    Runs = [spawn_link(fun() -> Self ! {self(), run(Program, Tick)} end) || Program <- Programs],
    [receive {Run, Result} -> io:format("~s~n", [json(Result)]) end || Run <- Runs].

json(N) when is_integer(N) -> integer_to_list(N);
json(Word) when is_atom(Word) -> [$", atom_to_list(Word), $"];
json(Tuple) when is_tuple(Tuple) -> json(tuple_to_list(Tuple));
json(List) -> [$[, lists:join($,, [json(Item) || Item <- List]), $]].

%% One program: its script is sent by this process, which hears every handler and every reply.

run({Id, Mode, Enter, Init, Lines, Script, Ticks}, Tick) ->
    timer:sleep(200 + rand:uniform(2000)),
    Start = erlang:monotonic_time(millisecond),
    {ok, Machine} = gen_statem:start(?MODULE, {self(), Mode, Enter, Init, Lines, Start, Tick}, []),
    Timed = [erlang:start_timer(Start + At * Tick, self(), {Kind, Event}, [{abs, true}]) || {At, Kind, Event} <- Script],
    End = erlang:start_timer(Start + Ticks * Tick, self(), the_end, [{abs, true}]),
    Heard = hear(Machine, monitor(process, Machine), End, gen_statem:reqids_new(), [], [], Start, Tick),
    [erlang:cancel_timer(Timer) || Timer <- Timed],
    {Log, Replies} = Heard,
    {Id, lists:reverse(Log), lists:reverse(Replies)}.

hear(Machine, Monitor, End, Calls, Log, Replies, Start, Tick) ->
    Now = fun() -> round((erlang:monotonic_time(millisecond) - Start) / Tick) end,
    receive
        {timeout, End, the_end} ->
            demonitor(Monitor, [flush]),
            exit(Machine, kill),
            {Log, Replies};
        {timeout, _, {call, Event}} ->
            More = gen_statem:send_request(Machine, {do, Event}, Event, Calls),
            hear(Machine, Monitor, End, More, Log, Replies, Start, Tick);
        {timeout, _, {cast, Event}} ->
            gen_statem:cast(Machine, {do, Event}),
            hear(Machine, Monitor, End, Calls, Log, Replies, Start, Tick);
        {timeout, _, {info, Event}} ->
            Machine ! {do, Event},
            hear(Machine, Monitor, End, Calls, Log, Replies, Start, Tick);
        {log, Entry} ->
            hear(Machine, Monitor, End, Calls, [Entry | Log], Replies, Start, Tick);
        {'DOWN', Monitor, process, Machine, _Reason} ->
            hear(Machine, Monitor, End, Calls, [{Now(), down, 0, 0} | Log], Replies, Start, Tick);
        Message ->
            case gen_statem:check_response(Message, Calls, true) of
                {{reply, Value}, Event, Left} ->
                    hear(Machine, Monitor, End, Left, Log, [{Now(), Event, Value} | Replies], Start, Tick);
                {{error, _}, Event, Left} ->
                    hear(Machine, Monitor, End, Left, Log, [{Now(), Event, down} | Replies], Start, Tick)
            end
    end.

%% The machine

init({Owner, Mode, Enter, {State, Inserts, Timeouts}, Lines, Start, Tick}) ->
    put(mode, Mode),
    put(enter, Enter),
    put(start, Start),
    put(tick, Tick),
    Data = #{owner => Owner, count => 0, lines => Lines, saved => []},
    {ok, state(State), Data, [insert(Event) || Event <- Inserts] ++ [timeout(One) || One <- Timeouts]}.

callback_mode() ->
    case get(enter) of
        true -> [get(mode), state_enter];
        false -> get(mode)
    end.

terminate(_, _, _) -> ok.

s0(Kind, Content, Data) -> handle_event(Kind, Content, s0, Data).
s1(Kind, Content, Data) -> handle_event(Kind, Content, s1, Data).
s2(Kind, Content, Data) -> handle_event(Kind, Content, s2, Data).
s3(Kind, Content, Data) -> handle_event(Kind, Content, s3, Data).

handle_event(Kind, Content, State, #{owner := Owner, count := Count} = Data0) ->
    Now = erlang:monotonic_time(millisecond),
    Owner ! {log, {round((Now - get(start)) / get(tick)), kind(Kind), content(Content), number(State)}},
    {Line, Data1} = next_line(Data0#{count := Count + 1}),
    {Next, Postpone, Inserts, Timeouts, Reply} = allowed(Kind, Line),
    {Replies, Data} = replies(Kind, Reply, Count, Data1),
    Actions =
        Replies
        ++ [postpone || Postpone]
        ++ [insert(Event) || Event <- Inserts]
        ++ [timeout(One) || One <- Timeouts],
    case Next of
        keep -> {keep_state, Data, Actions};
        repeat -> {repeat_state, Data, Actions};
        stop -> {stop_and_reply, normal, Replies, Data};
        {next, New} -> {next_state, state(New), Data, Actions}
    end.

next_line(#{lines := []} = Data) -> {{keep, false, [], [], now}, Data};
next_line(#{lines := [Line | Left]} = Data) -> {Line, Data#{lines := Left}}.

%% An enter call may neither change the state, nor postpone, nor insert.
allowed(enter, {{next, _}, _, _, Timeouts, Reply}) -> {keep, false, [], Timeouts, Reply};
allowed(enter, {Next, _, _, Timeouts, Reply}) -> {Next, false, [], Timeouts, Reply};
allowed(_, {Next, true, Inserts, Timeouts, _}) -> {Next, Next =/= stop, Inserts, Timeouts, none};
allowed(_, Line) -> Line.

replies({call, From}, now, Count, Data) -> {[{reply, From, Count}], Data};
replies({call, From}, later, _, #{saved := Saved} = Data) -> {[], Data#{saved := [From | Saved]}};
replies({call, From}, all, Count, #{saved := Saved} = Data) ->
    {[{reply, One, Count} || One <- lists:reverse(Saved, [From])], Data#{saved := []}};
replies(_, all, Count, #{saved := Saved} = Data) ->
    {[{reply, One, Count} || One <- lists:reverse(Saved)], Data#{saved := []}};
replies(_, _, _, Data) -> {[], Data}.

insert(Event) -> {next_event, internal, {do, Event}}.

timeout({Key, set, Ticks, Content}) -> {key(Key), Ticks * get(tick), Content};
timeout({Key, abs, Ticks, Content}) -> {key(Key), get(start) + Ticks * get(tick), Content, [{abs, true}]};
timeout({Key, cancel}) -> {key(Key), cancel};
timeout({Key, infinity, Content}) -> {key(Key), infinity, Content};
timeout({Key, update, Content}) -> {key(Key), update, Content}.

key(state) -> state_timeout;
key(event) -> timeout;
key(Name) -> {timeout, Name}.

kind({call, _}) -> call;
kind({timeout, Name}) -> Name;
kind(state_timeout) -> state;
kind(timeout) -> event;
kind(Kind) -> Kind.

content({do, Event}) -> Event;
content(Content) when is_integer(Content) -> Content;
content(State) -> number(State).

state(N) ->
    case get(mode) of
        state_functions -> element(N + 1, {s0, s1, s2, s3});
        handle_event_function -> {state, N}
    end.

number({state, N}) -> N;
number(State) -> list_to_integer(tl(atom_to_list(State))).
