/** The page's style: one type scale, two colour schemes, tables that are read across.
 *
 * Colours are named by what they mean. Both schemes have the same names, and which of them holds is the reader's choice in
 * the system. Names, numbers and addresses are set in the system's monospaced face, with figures of one width.
 * May not: load a font or an image.   Next: compare/html/phases.ts. */

/** Bars of the timeline: quiet tones that text can be read on. */
const LIGHT = [
  '#cfe0f5',
  '#d5ead0',
  '#f7e3bd',
  '#e3d7f1',
  '#c9e8e6',
  '#f5d3d6',
  '#e4e2c1',
  '#d9dde6',
  '#f2d6ea',
  '#cdebd9',
];
const DARK = [
  '#24405f',
  '#2c4f2a',
  '#5a431a',
  '#45315f',
  '#1d4f4d',
  '#5d2c33',
  '#4d4a1f',
  '#3a4252',
  '#57294b',
  '#1f5038',
];

const bars = (colours: readonly string[]): string =>
  colours
    .map((colour, i) => `.phase.c${i} rect{fill:${colour}}.key.c${i},.share .c${i}{background:${colour}}`)
    .join('');

export const STYLE = `
:root{--ink:#1b1f24;--quiet:#626b77;--faint:#98a1ad;--paper:#fff;--raised:#f6f7f9;--line:#dfe3e8;--soft:#eceff2;--link:#0b57b0;
--bad:#b42318;--bad-soft:#fdecea;--warn:#96590a;--warn-soft:#fdf1dc;--ok:#1b7a3d;--ok-soft:#e3f4e8;--odd:#fff3c9;--odd-ink:#5c4300;--tick:#5b6b82;--alone:#c2410c}
@media (prefers-color-scheme:dark){:root{--ink:#e4e7eb;--quiet:#9aa4b1;--faint:#6b7582;--paper:#14171b;--raised:#1b1f25;--line:#2e343c;--soft:#232830;--link:#7db4f5;
--bad:#ff8a7a;--bad-soft:#3d1c18;--warn:#efb45b;--warn-soft:#3a2a0f;--ok:#6fce8f;--ok-soft:#153322;--odd:#4a3b0c;--odd-ink:#ffe39a;--tick:#93a4bd;--alone:#ff9558}}
*{box-sizing:border-box}
html{scroll-padding-top:52px;-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:14px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",sans-serif}
table,.mono,pre,.list,.head,.pair,.lane,.axis,.who span,dd,.id,.chip,.names{font-family:ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono","Liberation Mono",monospace;font-size:12px;font-variant-numeric:tabular-nums}
header.page,main,nav>div{max-width:1760px;margin:0 auto;padding-left:32px;padding-right:32px}
header.page{padding-top:28px;padding-bottom:24px}
.brand{color:var(--quiet);font-size:12px;letter-spacing:.04em}
h1{margin:2px 0 0;font-size:26px;line-height:1.25;font-weight:650;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{margin:0 0 2px;font-size:19px;line-height:1.3;font-weight:650;letter-spacing:-.005em}
h3{margin:6px 0 4px;font-size:15px;line-height:1.4;font-weight:600;overflow-wrap:anywhere}
h4{margin:0 0 8px;font:600 13px/1.4 ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere}
p{margin:0 0 10px;max-width:90ch}
.lead{color:var(--quiet);overflow-wrap:anywhere}
header.page .lead{max-width:none}
.quiet,.quiet b{color:var(--quiet);font-weight:400}
.verdict{display:inline-block;margin-left:8px;padding:2px 12px;border-radius:99px;font-size:14px;font-weight:600;letter-spacing:0;vertical-align:4px}
.verdict.bad{background:var(--bad-soft);color:var(--bad)}.verdict.ok{background:var(--ok-soft);color:var(--ok)}
dl{display:flex;flex-wrap:wrap;gap:8px 36px;margin:12px 0 18px}
dt{color:var(--quiet);font-size:12px}dd{margin:0;font-size:13px;overflow-wrap:anywhere}
nav{position:sticky;top:0;z-index:5;background:var(--paper);border-top:1px solid var(--line);border-bottom:1px solid var(--line)}
nav>div{display:flex;gap:24px;overflow-x:auto;white-space:nowrap}
nav a{padding:9px 0;color:var(--quiet);text-decoration:none;font-weight:500}nav a:hover{color:var(--ink)}
nav a b{padding:0 7px;border-radius:9px;background:var(--soft);font-size:12px;font-weight:600}
section{padding:30px 0 14px}
a{color:var(--link)}
:focus-visible{outline:2px solid var(--link);outline-offset:1px}
html:not(.script) .needs-script{display:none!important}
.scroll{overflow-x:auto}
table{border-collapse:collapse;text-align:left}
th{font-weight:600}
thead th{padding:6px 16px 6px 0;border-bottom:1px solid var(--line);color:var(--quiet);font:500 12px/1.4 system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",sans-serif;vertical-align:bottom}
td,tbody th{padding:5px 16px 5px 0;border-bottom:1px solid var(--soft);vertical-align:top;overflow-wrap:anywhere}
.num{text-align:right;white-space:nowrap}
table.paths{width:100%}table.paths td,table.paths th{overflow-wrap:normal}
.dot{display:inline-block;width:8px;height:8px;margin-right:7px;border-radius:50%}.dot.ok{background:var(--ok)}.dot.bad{background:var(--bad)}
.lost{color:var(--bad)}
.kinds{display:flex;flex-wrap:wrap;gap:6px 18px;margin:8px 0 14px;color:var(--quiet)}
.badge{padding:1px 8px;border-radius:4px;font-style:normal;font-size:12px;font-weight:600;background:var(--soft);color:var(--ink)}
.badge.kind-arrival,.badge.kind-init-mismatch,.badge.kind-invariant{background:var(--bad-soft);color:var(--bad)}
.badge.kind-rule,.badge.kind-function{background:var(--warn-soft);color:var(--warn)}
.good{display:inline-block;margin:10px 0;padding:10px 16px;border-radius:6px;background:var(--ok-soft)}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,680px),1fr));gap:12px;align-items:start}.fold>.cards{padding:12px}
.finding{min-width:0;padding:12px 18px 12px 16px;border:1px solid var(--line);border-left:4px solid var(--faint);border-radius:6px;background:var(--raised)}
.finding.kind-arrival,.finding.kind-init-mismatch,.finding.kind-invariant{border-left-color:var(--bad)}
.finding.kind-rule,.finding.kind-function{border-left-color:var(--warn)}
.finding header{display:flex;flex-wrap:wrap;align-items:center;gap:6px 8px}
.chip{padding:1px 7px;border:1px solid var(--line);border-radius:4px;background:var(--paper)}
.id{margin-left:auto;color:var(--faint);overflow-wrap:anywhere}
.finding p{margin-bottom:6px;color:var(--quiet)}
.finding footer{display:flex;flex-wrap:wrap;gap:4px 20px;margin-top:8px;color:var(--quiet);font-size:12px}
.evidence{min-width:min(100%,640px)}.evidence td{padding-top:3px;padding-bottom:3px}.evidence tr:last-child td{border-bottom:0}.evidence .path{white-space:nowrap;color:var(--quiet)}
.more summary,.handover summary{cursor:pointer;color:var(--link);font-size:12px}
.bar{display:flex;flex-wrap:wrap;align-items:center;gap:8px 12px;margin:10px 0}
.pick{position:absolute;opacity:0;pointer-events:none}
.tabs{display:inline-flex;border:1px solid var(--line);border-radius:6px;overflow:hidden}
.tabs label{padding:3px 12px;cursor:pointer;color:var(--quiet);border-left:1px solid var(--line)}.tabs label:first-child{border-left:0}
#scale-linear:checked~.bar [for=scale-linear],#scale-log:checked~.bar [for=scale-log],#scale-steps:checked~.bar [for=scale-steps],#scale-full:checked~.bar [for=scale-full]{background:var(--soft);color:var(--ink);font-weight:600}
.pick:focus-visible~.bar{outline:2px solid var(--link);outline-offset:3px}
.drawing{display:none;grid-template-columns:minmax(84px,max-content) minmax(0,1fr);gap:12px 16px;padding:14px 14px 4px 0}
#scale-linear:checked~.on-linear,#scale-log:checked~.on-log,#scale-steps:checked~.on-steps,#scale-full:checked~.on-full{display:grid}
.timeline{position:relative}
.who{text-align:right;line-height:1.35;padding-top:2px}.who b,.who span{display:block}.who span{color:var(--quiet)}
svg{display:block;width:100%;overflow:visible}
.phase{overflow:hidden}.phase text{fill:var(--ink);font-size:11px}.phase .name{font-weight:600}
.phase rect{stroke:var(--paper);stroke-width:1.5px}.phase:hover rect{filter:brightness(.94)}
.tick{fill:var(--tick)}.tick.alone{fill:var(--alone)}
.mark{fill:var(--bad);stroke:var(--paper);stroke-width:1px}
.goal{stroke-width:2px}.goal.met{stroke:var(--ink)}.goal.lost{stroke:var(--bad);stroke-dasharray:4 3}
.axis{border-top:1px solid var(--line)}.axis line{stroke:var(--faint)}.axis text{fill:var(--quiet);font-size:11px}
.legend{margin-left:auto;color:var(--quiet);font-size:12px}
.key{display:inline-block;width:11px;height:11px;margin:0 4px 0 12px;border-radius:2px;vertical-align:-1px}td .key{margin:0 6px 0 0}
.key.fresh{background:var(--tick)}.key.alone{background:var(--alone)}.key.differs{background:var(--odd);border:1px solid var(--warn)}.key.legit{background:var(--soft);border:1px solid var(--faint)}
.key.mark{background:none;width:0;height:0;border:6px solid transparent;border-top:0;border-bottom:9px solid var(--bad);border-radius:0}
.fold{margin:8px 0;border:1px solid var(--line);border-radius:6px}
.fold>summary{padding:7px 14px;cursor:pointer;font-weight:600}.fold>summary:hover{background:var(--raised)}
.fold>summary .quiet{float:right;margin-left:12px;font-size:12px;font-weight:400}.fold>summary .quiet b{font-weight:600}
.fold[open]>summary{border-bottom:1px solid var(--line)}
.fold>.scroll{padding:0 14px 8px}.fold>pre{margin:0;padding:12px 14px;max-height:480px;overflow:auto;white-space:pre-wrap;overflow-wrap:anywhere}
.phases{width:100%}.phases .group td,.phases .group th{padding-top:14px;border-bottom-color:var(--line)}.phases .names{color:var(--quiet)}.names span{margin-right:10px;white-space:nowrap}.names i{color:var(--faint);font-style:normal}
.share{display:block;width:120px;height:11px;margin-top:4px;border-radius:2px;background:var(--soft)}.share i{display:block;height:100%;min-width:1px;border-radius:2px}
.toggle{padding:3px 12px;border:1px solid var(--line);border-radius:6px;cursor:pointer;color:var(--quiet)}
#hide-same:checked~.bar .hide-same,#hide-legit:checked~.bar .hide-legit{background:var(--soft);color:var(--ink)}
#hide-same:checked~.bar .hide-same::before,#hide-legit:checked~.bar .hide-legit::before{content:"✓ "}
#hide-same:checked~details tr.same,#hide-legit:checked~details tr.legitimate,#hide-same:checked~details.quiet-section{display:none}
.searching #hide-same:checked~details tr.same:not([hidden]),.state.searching details tr.same:not([hidden]){display:table-row!important}.state.searching details.quiet-section:not([hidden]){display:block!important}
.side{width:100%;table-layout:auto}.side tbody th{white-space:nowrap;font-weight:500}.side td{min-width:110px;max-width:420px}
.side b{font-weight:600}.side i{color:var(--faint);font-style:normal}
.side .why{max-width:380px;min-width:180px;color:var(--quiet);font:12px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",sans-serif;overflow-wrap:normal}
.side .again{white-space:nowrap;overflow:hidden;text-overflow:ellipsis;max-width:0;color:var(--faint)}
.side .none,.none{color:var(--faint)}
tr.legitimate td,tr.legitimate th{color:var(--quiet)}tr.legitimate b{font-weight:500}
tr.differs td.odd{background:var(--odd);color:var(--odd-ink);box-shadow:-6px 0 0 var(--odd)}tr.differs td.odd i{color:inherit}tr.differs th{color:var(--warn);font-weight:600}
tr.legitimate td.odd{color:var(--ink)}
b.differs{color:var(--warn)!important}
.pair{margin-bottom:1px}.pair span{color:var(--quiet)}
input[type=search],select,button{height:30px;padding:0 10px;border:1px solid var(--line);border-radius:6px;background:var(--paper);color:var(--ink);font:inherit}
input[type=search]{min-width:240px}button{cursor:pointer}button:hover{background:var(--raised)}
.wishes{display:inline-flex;flex-wrap:wrap;gap:6px}.wish{color:var(--quiet)}.wish b{font-weight:600}
.wish[data-wish="1"]{border-color:var(--ok);background:var(--ok-soft);color:var(--ok)}.wish[data-wish="2"]{border-color:var(--bad);background:var(--bad-soft);color:var(--bad)}
.check{display:inline-flex;align-items:center;gap:6px}.count{margin-left:auto}
.grid{border:1px solid var(--line);border-radius:6px;overflow:hidden}
.grid .head{display:grid;border-bottom:1px solid var(--line);background:var(--raised);scrollbar-gutter:stable;overflow:hidden}
.grid .head>*{height:30px;padding:0 8px;border:0;background:none;color:var(--quiet);font:500 12px/30px system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",sans-serif;text-align:left;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.grid .head>.num{text-align:right}.grid button[aria-sort]{color:var(--ink);font-weight:700}.grid button[aria-sort=ascending]::after{content:" ↑"}.grid button[aria-sort=descending]::after{content:" ↓"}
.list{height:min(60vh,600px);overflow-y:scroll;scrollbar-gutter:stable}
.space{position:relative}
.row{position:absolute;left:0;right:0;display:grid;height:24px;line-height:24px}
.row>*{padding:0 8px;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.row.odd-row{background:var(--raised)}
.functions .row{cursor:pointer}.functions .row:hover{background:var(--soft)}.row.chosen{background:var(--odd);color:var(--odd-ink)}
.functions .head,.functions .row{grid-template-columns:minmax(190px,1.6fr) repeat(var(--paths),minmax(88px,.6fr) minmax(52px,.36fr)) minmax(150px,1.2fr)}
.times{color:var(--quiet)}
.events .head,.events .row{grid-template-columns:120px 90px 100px minmax(140px,1fr) minmax(200px,1.6fr) minmax(180px,1.2fr)}
.detail{margin-top:10px;padding:12px 16px;border:1px solid var(--line);border-radius:6px;background:var(--raised)}
.detail th{padding:3px 20px 3px 0;color:var(--quiet);font-weight:500}.detail td{padding:3px 20px 3px 0}
.empty{color:var(--quiet)}
@media (max-width:1500px){.side td[title] i{display:none}}
@media (max-width:900px){header.page,main,nav>div{padding-left:16px;padding-right:16px}.legend{margin-left:0}.grid{overflow-x:auto}.grid .head,.list{min-width:760px}}
@media print{nav,.bar{display:none}.list{height:auto}}
${bars(LIGHT)}
@media (prefers-color-scheme:dark){${bars(DARK)}}
`;
