"""Go on small boards: rules, pictures of boards, games as move lists, and clips made of them.

| file | what is in it |
|---|---|
| rules | Position: what may be played, what a move leads to, the score |
| render | Renderer: boards to pixels, in the style of Video-GoBench |
| read | BoardReader: pixels to boards, and the stone that is new |
| symmetries | boards that are the same, turned or mirrored |
| games | Game: moves, the annotator's lines and values; files of games |
| library | where games come from: the shipped file, other files, SGF, GNU Go |
| videos | GoVideos, the ClipSource |
| gtp, gnugo, katago | engines that speak GTP; GNU Go; KataGo's policy |
| make | games that GNU Go plays against itself, and what a stronger level would have played |
| sgf | games from and to SGF |
| shards | where the pictures lie in the published shards of Video-GoBench; see datamodules.video_go_bench |

A point of a board of `size` is row * size + column, row 0 at the top of the picture and column 0 at its left;
size**2 is a pass. A board is int8 (size, size): 0 empty, 1 black, 2 white. Games begin with Black, and only
Black's moves are to be learned: a position is one with Black to move, and its line is what the annotator
would play from there, Black's best move, White's reply, Black's next one, and so on.
"""
