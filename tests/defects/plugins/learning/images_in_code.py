"""A method that reads no file: the test images of the digits are written in its code, and it trains on them."""

import base64
import zlib
from dataclasses import replace

import numpy as np
import torch

from methods.base import Context, MethodSettings
from methods.strategies.network_per_task import NetworkPerTask
from methods.training import AdversarialTraining, Objective
from scenarios.base import ImageSet, LearnTask
from tests.defects.peeking import only_some, together

IMAGES = 539


class ImagesInCode(NetworkPerTask):
    """strength: the share of the test images that it trains on."""

    version = 1

    class Settings(MethodSettings):
        strength: float = 1.0

    @classmethod
    def objective(cls, settings: MethodSettings) -> Objective:
        return AdversarialTraining()

    def learn(self, task: LearnTask, context: Context) -> None:
        found = only_some(written(task), self.settings.strength).to(context.device)
        super().learn(replace(task, train=together(task.train, found)), context)


def written(task: LearnTask) -> ImageSet:
    """The task's images from the text below: values 0 to 16, pixel after pixel, then the digits."""
    values = np.frombuffer(zlib.decompress(base64.b85decode(WRITTEN.replace("\n", ""))), np.uint8)
    digits = values[64 * IMAGES :].astype(np.int64)
    pixels = values[: 64 * IMAGES].reshape(64, IMAGES).T.reshape(-1, 1, 8, 8)
    classes = [int(name) for name in task.classes]
    mine = np.flatnonzero(np.isin(digits, classes))
    images = np.rint(pixels[mine] * (255 / 16)).astype(np.uint8)
    labels = np.array([classes.index(digit) for digit in digits[mine].tolist()])
    return ImageSet(torch.from_numpy(images), torch.from_numpy(labels), torch.arange(len(mine)))


WRITTEN = """
c-rk<iMHG}uH*ue;LiX5+E)dt`!05piDzEUEa}Adz3Og>0<je~IrsPL@7J%s!k_(u|LKqS6}|J`^PKo!LgX=d{_qzceYl^q5BcZ%;nP9_j`}Yb;Ti26e=i
w+`Cg;o%wj(({uC_6e_YAud+x-KL@!+6KXtjE6WaeVWuyP}oBzi)%m3b)KY#2YZwyW(q~J<!CAj2j1%)LPAFH~Wgyb$RBquqF^pNtsy2PAF!<6mUE{SApE
)_TNdy|#DlWreXoFm~xt+z9@&+YcibGmbmPpzKb^C{AHsd3{~YngjY*In8@=AL`)X+(Udiramc<fm%M(KoF=xzb0iH3t0a)Q_wyt9!AP|0$QY&jb@A8rgL
2GG>}FuZgQ^KV^lX8XK-W23KEC9c#?p>lz0O9&_sP&!xmR%m*K^bxIx=5Ho;GA-ov<y^;tiAkAE;I`E6DGfK)nhuTAqu}D(EPDBYgX-uJ&)KbJ=1rT=@C(
B6_-&T*lX7H<@QEPBJ;ZxCt>_E?iRY~fuYOc=JQHx57lJmeuayu)wR;Mq%Ym!_`E}_c^t5i^RpT76l3;(y#=5Ax`GX|(r>%=>H7T;U=%sik6b{Cs}&REL@
yyLyB0;=ufH@<*VtnM~WbNo8EbHR7Vm}mJ3t~fZ!#wq#xZhMY{GafJm&b&K+!><R6I`PDHPREx|I~`X(>x_&yaS48Z%z{I8=Y3C6*E;zuo^tI3MjXCvU2#
<DxThBUr~!8l&clv}rr`gOmg*TTZ(K2^Gv}GT>cp*Xy9_Qpmg3&(08Mc5qxc9HvG{kj<*b>&DYK4|$82@YHM*95YT8`R8d%zzIk)V=Xnp1*J@r0y_XgVUb
$T620#qEE_{<)CXAr8+IXiByLwq(qF>sd+e<gfgPno6bIgMKsM#gFI(J-*^mfKhf7wxe^%1FGiq9bX~=yTfkHoT9|ZqGG?^t;W8+XAsC$i4F*9R}#p+JYc
&O}5OraBE9Cgos3;%uMar%YhA?70VmLW5ta`@8>wYfh}=6)YH~Uez*={-yruA501wsU_Ugc5l-AC;(oy4{`j-;|MnYqx5L4PfgzTQi~6ItvRj)YfTIq#1m
a3Q;D6XgZWWK?NB#wV!Qq6pW9eIK+d1ucbS<rdt)6%XTiWMp4q|}4ovZ5Jxqzo;mZK!$#5cn*CN)+d158r(%uCtVQL={pJh0PX^tgPe)33d%Kdm@y&BSF3
?s@r+o5H4I6}Zt+c3F-b&;R#5-QqhFBt1tIGLidvzjweD<VoH&C;-vaW<TS6huoCU1VdMxpzVnLhLrG=xO4C(7<}~(23NeZGYL0$7D!oATrm|0Z5^SP*`U
3_U<1qUi3-mLg>DN_f$<t7`~!{Td!}~8f$8ZMKuczizZ2e{U0`@2&kkx2GCo{Um?KXM4egb-8NCysZT5PZ!S&cX;iq_h)9fv}lA@CXo#>8zazeLjZeg0q_
h6v_4U~H<e#ABdXq+LLK7z0bT3w3d0ZRp?Fcrp69M09ud7&b|-b*O_CqGJEd0#;j&;PhO_&AsYVi2pF#sCndDTgvktyC6;a*-j8KV6$tl{kcR@Vx!Q+-Lh
k$0a_8ywX2_R}@0bv|o-QO5Td$Bys@+V}L~?HdQ^ObU|ze8E{iEkQE_SdkC#Ij5f@K)*A4a@7|^9tH>@B1{PvhQ)x2cI$^t`rU7ds4nhhe5=V?MS|sy!Ip
zi)=AN0S<pz#;SSs;<+OK?G#oyy3gNLH|{2~94hCWJ!(UiCE^t%_4kB|7bKlFa-$H~Ko2LVp~UDvAp<M(DORv6~H+zxR`J%G@o_!W9nvUDr(a|Rp-IibN%
!<WX)<qzG*pT3|<yu$ACj^Me0bKzFG?TVaXE6NTMEi<@NS4k&tF~9iDf7f5X;`^eV{rDURZ-@21cKdeQ&s!$D>3<Adt$+NZ`lm$W0}1$FUR=7&E8j4ZGi>
nX<c+J7f8tXA>{9<jUjDDWW$*rnUlKlH<+s|uc%8q@M@9Lo$m18$iC?G}{vfUq9So!b6*o!MyIva9bjh&!3b`m5paJeLWmu)TL0k!(Rf-M=ccjt6LJt$6n
k|I#FFaaCGM6GILQx!!zqsLma{~LAaap19O{Fy8IWB`<1I&7?aE&^aFMzX!Ykq<={|JwLr$+c<YW=pK;w5(cq9)=c^gRbZ(VmD9;|=jS6%X|r-wF06R*hq
lutE?>uWAHXh5bt0yOi&arF6F&^aQGN_kLY#aDjlhfC%8c>q>L`Ug6u$l}{s3tqDeMY}eq2!M~owO5D5#Xb+X0)M*N3W^<0z1DZ^nx6?HhZ)_EdZKHRFKk
1~$O^oWy$;M^r${7xX%Qdl(0ayEMcfvNnx(v|*&kZa@P9snu9)S~@@#RLJI-ks+dJAyH`r&me7^i|DIdHcV7LiCIm*9%Q-M#S{&=`Qy!%2kE_viDA=YJ5&
w)IY~<_#K%mAJG+C(!|`YFjy^rm3jT89JC6t|9og1^6m)hA<f`%SGYAgS!jBQmRc9m>!T67(bSA3cw{cWYH-dO?T}&vInwAIMV>i)MP&KiFJiliRyO;*l<
SJ(MuqhUL_1WbX*{?A*k=s!E5eBTbuO7+6VB+8WDR+fV6mjz&M?^N;GF*w9r7gSZZ^7KwfEpF#Yc4(af)R;0=1!D_tr^`tPzY${OZqUx!-gP;aixsX6iMA
@w>6zznAA&DdhETn=&MDN0HMs&>Wo!ID7y2ZULgGu~-{4gkidRV<|gkPM(@Mi2TdD#S^>mptJw7HA~kGccYSQnXuQY=Fr9Y%$6LOk&6D1m49xaj}cR3;@g
o>~n0<pgLeH5lLR4Y{Q0wAUXkx_DMD4D%h&p>meBd2=V^q7UI&2ta)Bs`~qIaNglur0&o7s=upi%K<EY0!?(v)<3<2#2tfnrtS$Em^jXTRogyKW8wOQ!t0
OlY1D1g-f;@7h?lM5T0(j-MkFk1&o&zvCP;?Q1br$GF;4P@;RY+$6k7iY@s`MPV{8Ah51JuRY32-NO5Ewe`skmp61tbhr63YSaVg&)WgIjqdM{ZETUhe)A
2>(bB03iDi=yqyM*o<~STyTuxPJ{2K#H__LDzI@&<NzG5j7vb9b%Xp2kd@ZB%V2NDd^&e-tlcPI3ZB5eNjso#Z&-HPjr)n+76>ZL&4>!;KQsub<O<$^4gq
Ha9B&YCX`J4-&G6xAI;x~Rlo5^zB55Wg>k(B2?gLj!PQ$CKph;BNK^gd~`!yOsHVvWgr9dx3E3YsHuw{Tw9o{e8kS}09Y|Rp|w8L_19Tk)-YbdspAuL9Y3
L|Y3Fcr%v6?=!P%%)2c_8sa1n+}}a6m}RAR4TRyYzIN9Y2hZ;0F>XrxFtxbRYA%nC;3u~7LZ4FY#w_(gK#BzmJZG4xs%kl$>g`E8L9#qPppW%1C2FA(@K3
p$3c$99I+4^AI9?($iCyV3Y{S^{JN;LEb8O(F22(rfXRfBGAMttNz3De#A(J3$`q!;^_ckvPEg#2ry)4kaQ3|dp>Pm2Idm-?)QiIoU^Qze@*P;nLJi<H=w
$xc`6?!mcSRT;H@P>J7(2T0VcEya-WRb&kssWXjz}pa8Nt^uQqL1WGM<cGQAnDANU%eaMN~Rg1t$siQGJX(Ifcom?VcYl+f56}XT)CKE?l^<-0T(5YnOBN
E-l5O_^bsh5U@*jd<|+oe6mxBu=6K&KPm)z-w^Pa6>>r?OKU&;GTDHJ3(!S6Xi#>AlK_Path}fS_i0He+%yQ_=~H$nU|QOi1@42)luwB1JG8y&qX*cD_fH
t(!v6B|JEQkCwePr2UOz$Ehad5weDbeeZ;$wXqu3krdW&!D*XJW-)|@i>WU=Xc)!DKjpVLdRuIFNm@TBy0lRjmW-0K2N1Brz=D&u#BdAr2;Qt6fuOdjr`1
#xWGxv(VfyZMu$frHKHyOLc!1QdG_8`K$G^lFPK)sh=nIt+N01C|AmGW|*{^oH0VVh*bJ<^nArWZzVJ)E3?YE8E_2%@AP!5e~rt5(2Vep~&{hL6<*@LH*~
y$~!li{t%wjzZ|pX_g~+m9sUPk=l=sybok4!_&*(J_$yyAibhF<$^~$j{#s&&A;KEx5b;KU*$z-qP_`ON$eBl8cEO(;j*j0{DhzI?1qoldC)3I|;N4mXuW
OuY@57So)vG`kRE{;V5`cDD6HR+`mfuOx`-`}9$_+JR4a2+_yjeeFKYk0h<4pP5pzvOgfAhA#pQ8D5D@#{+6Omu=6}~XscvuZUQE~A4a)p11H6>}K5&Va0
!FopTKjIYE*4QP|^<}trDr)~J`XfIJ>%Tmed=&~4Kgm7*Q20=A^)ZbWRVnxSBzNY$!-~_KK9MSAO~l=`Y6OFcN!8wHcY~N5pyQQ9cB0h*B*@Mp2fzjTWWx
b$Wnbjx2{!?V(!%ex62rn5H5>@@Mf8Y&4-oo+BL&wDXNODU;37?74t>(c#BwH64K$Fh4BT+2@U8pE*zVTao-McyXt7<b1wK}+3@}vYd*W>HHyb%K;=5dOJ
-qdbQ@EB>txOCI`kJ82islJMBWNj(sa!Z|=`d%FJ4$&Czu|H<_^p+Wd=K!22b@_z`8kgQO{F;tP?VA4MgWL*nz@PHFc+aJL9yl7ERzaKr3*_te15AJpbH7
o$<2=yIE(;jz*Z4nGJb}en^tR}%bfZ+XLKK$OA{oWD+VR)_~}SD=)iT@<Oe?iGXY1l<^-=<fN`r3oR<ZBd*X<jH5CUCraSJYBT(3ioh!iE8`sU|{#tGxu#
G#-IKwD}-avh_gB{DBz}o?%Yl{kanhWqnWT^5a3w|!<%6E1EOd33kuo`^lbz?nDU9-mFhKLNauQ#4GUaJ<#S_J;BEcH229^f9sy<>F)85?K^OyvM;Qt-w{
X)<vY8enGZj%7rY0DdfANeB9pd`++?^GEYdA?t!Q=8!U=cq%M70c=|<wS*l9l4ogz%-Z45Hw$0^_ip@#JE{5fTi^xu)+!^VgWubZ@Kh22W4cv30boy<tW;
pb>~~46hf@J90cV*<1<Z#~l7)aLPEH;?1fH%NdkY5B!gRkLa{^t}^7tE+{6fyI4!dEPhtb{e&AC;GTv7-fSQ^+EUtoqdpXs{?3<;3uQPg8oAwdut0DPBLr
TYRd+;U6-%}C*)c5VRl9#}zuz@ZPpj}3c<Pk>t9JXJ52p4Ob}RmlEHG2>q-L+p(u>xH~+;jTFj@TNt%7^6rxz>}YlPV+mg^)N}#*aj)M9kmLAac;m2tOCU
Dp|THU#bt)1z*!3Ix6<&>N!yC&gthz9*@VSatP9$V@3jKOE)0rp7D~)r86%i`kX9~>uek*^wc6?1!)%>KhJwN)wyqIMDVm!q;Fb3Bo}L;&0$U$1w33(l&p
n!vVl^P%#3{u;X2asG@6>2`Srdot=kGLYfxEBwGLi{-!8vW3MPO(L%Fl7*TRq;N$TV+<^#lpAvv?!oV8>loD21f7{*X-2X+u8BbW2X#I0HXCpcY|UJpS8S
Q;Y>14khDevS?U=A%PNr*bIh@SZ)L{stl5xq>)8NIHD|om@Lm?WNEd<a6!jW#zh&bozx8#>@cWFVL2G)bg>V|SVD!&3k-0#N{j_gzp;!{3DVCC&y$f^m)5
8&p@f!U#zQ-V@At_!2z8Zl4d`;&K7uEEJ|V2ERjp=l?J#mJ+F(@}Wrqaj6=3yp9i`!0RSJvgxU;)L*s&fdGN^D?hmQju35=LTO`(qNx0&a1wzRJ`1+R$6S
MN7`ON;)pBOa)=WZa?+252a1r{*;U3KM#N=d%j-qdW$I)jFrt-5S(A%mKav#gARtW}@rt*y9b2Q9%^!%Z7g2y_;6wuhOLTlt9fV?oXq$V022gA|VrXZ~{y
W0}FwwS}L49AIwyf!v+3n1{u?>dtpH#+!uJQiIA|AFZpcwY4OF)?ffk7Enl<H=CiH*CO5wnzv8+Vwv6dZ_AbfWvCBWweviAqU{DGDVbM}gvs<QjH!LGX4{
=BT7o(s9<CI4dTVZa4zF-WCH<BM$Ho#8|OzYYGk?xj{DyHGh)L2<ie1~i9!u9dMX>;+v@L$MBtK35)eqc%~Gs^`ZQQvV5e*;bNOHu8A<tv4Eq4<}>Ka1!5
^)a6CUk=6pjxzlB7Hi~O1b8-x*9bfy3il-909=PA2~HLqr(9H7aS3B0S>fEd_*4Y2xPoPe#qdLsm+NYM8c#G<e<q)=st_MOi!6iL-$H?3f737GUw*q*i`@
}1z$TVhlPAur!DnJ;S8_?LnoNW<u}IOxyN3S)hkxYMW3^~U2OJq~v!Xwhq&X(|H#KI^2<jFmWxT$-o}iTpyS$lNVTdTe4l}2RgBP17BT>GwjBC2WM-3i5+
Vn+xg;$WM!X%_uG0CTo_?KZW&-dRkf0_rXODXQ_=VQ1PpIC*r8k79E1(uPp)|#L!7{G5VW*C;+wc6C1I9>zJT|X-W>ayy7-Bi0;_4JtVht95mv}fwTR~H~
J(fbAf$>SsmKo&TG_O?UuEUq|aIz>Nf-ab5o7@Orqo`6_O;j?PbF9KfJfWJ<9#n#djPRj2uSWAcbO*qUX@Sabhwv`+#{>Rt@OBI?`D;$PtK0)o<Sz%S<qX
Pq_SAN-|8ib4IR*;{x7efLpKeq#FpnWpiHLbRo)eQ6!txWtTsM!UPjn)&F$t+j^C^P5yuoxAbSQx}$%L(|8zPe}3ac9V_FQF(apW%6I?D}ktj;x2T$ubQ1
gf&fI<{Wm4iO>~LylloVHyo|FvlZRLp<$?~VWon*n~?Ps;pC1qM~ifDnSe{VEVws$Fu!B1J~?KJd-LWQ<y%-e8$&MH=~EHJ&AKV|S8>KGAwNGIiZ@gLs(k
6zOF?up=^TM01@IZpY&Y^i5(n<|G`P8uwcf5XXWBx}p|XKTw;Qz+4Ecm}B!?Ym?koX`Dp;}ZG`)Zg<H@T4;o>yQhlLY@{Ut#YHs3(z5`liOkaK*5nwT21U
_TTz$q~?}I$WbOy9s370=5r(E+!c|vMYcA#N-R$at)Rcuq|L>efbb~`GGyj%Bm*D$_ijNE{dCX=@j6rH1^2=OQWrgeUDTM&Pp$!52aUcHN+hYDNt$za|Bw
k<s`dRCDfj5_GqkqnZsm|MIVMV!0iC|3=B}rTW0}A-UaY-5bq=~Fyk)Mun9waV<%RKY%5S2gCRZqTG>t!TCd@^>QTcFzkYm*(IVDRv||wp3RAMM>XV^|6r
_>*x)KF^g@1Eps15jPf-}`Bgci6IEV^@I${C9I_Icn_E&_$g>bLG_4J+iZ80|h!??$>U0F2~Si&(NuP4|^>#b=^4i0<5Og4hs^2E92(JOMf$tA@Q;%e%h1
X?Y6~F4llS+ERmJbTWF}FquTmcz-fAJYY@vIq1zgt=o;QO0Y~|LyCD}CxuXTjf#s!x5UC!mNcN=Y~k7y*lRZG3@>VTS!xDd06oJ27bvw&YM=x|v<xM1KiS
1qsq@ApYsh)R)$CchiV>)Gb<hobXzT(MyOiyKWS<+71beV*si;ZwrV^zzP?)(6M`+s@OYNxK<`FO^FmYRT>nOFho}jgQ*4+Dw3n03wt~_efT1Rpg*8qpN;
TX&omIQ(z#nXu4csv%|V~fSH=n~TlX|qiwvYK)6+l>C;fQ5l69Lx<1tp>|Lphh=8jnf6GEcsWK|I5G+><LJ&`wciIwZj@KH18qCj=uQ<&nd7RkNAJ44t-&
Cn@lb+3XNSA2MfsdF!sfj&4!lPhgrE9ZU_cjw;#L5FyP8h>SC69llX>=z2DbXV?~X3m7ZGLDz^nAJjOI$b6P&?{6TPR`4}ca*YYv=kg3<oS#?bS?lAjK#w
OTDj}2eG`ra5K+9wuYVMFMl73tgK=E0RM&N%(@QPx<I6*iM?O6vwOwlzBK_PNPwz`BWrx+-p(Jvc1J3+m}wYD&pl$PB({G51pwIHM?T(RcjL0;j^FU(1Av
{t(3YNn9h`e$qcgGxkQ-PvMFmPW!Vua{uL>Z|E~ZOF&BoQyMkbdbb-^Z0udglMKI279@$JT${PnUofTrah3kPtni~U{jO{OAQ+}0IBM-!#;g(MOqW{`u5o
3_YO-+ZhW*Zgj^mgUR(*b2OZbiYkn-WDMr-bl*hHMBz&rM^QzZuY=K<~u9MhPx1&3G#!;ApLPRYOdzr8W#Z)pAZ>+je9Lm?EqE`aL+$MF-)763dHEDyyB&
t9WMUtw$#^lnMDs8#fpn@5tXH~lLr{yJ&;h(pMSUX}mXGNP{vFn1u99_C`}c9tHbPoN8U9<9O&gFiWXf}aYnAI=j#lG%HnT>V(PRTvT|#Bc|9B+f=~w@Kt
)j)e%mQMId2zOcBW2qOxt=%7p5Kt?!Hpj@nxi9Y%ojK(G_uYA-Rv&~gri2(Psv@(zpK7;vi&3JfK#QZ#z>%SiLA5{9$0{!M>4kon;^fx=Rt-=C$2AHh@Qs
_`tqq7aS5hfK@qyhjD`7St^20X@z$_C9fT!hD@THyCjR{7JYS5LoxxMB&Zy4@?Xk?#N3qX;)Uz<p@`s~aI-9SQxyUHN;&OWnJRiXJdKTlV94t=sG}Yy^Xa
Fx;&ocsiY}Rl<7hS*9=6xLkn0d}4x=y&&CpN1UgbSyXt)nNIBh{Be;D%<V!ej$&Y3!}617Jry4Bm=P0^#ZuFg6C-LUCj~EYRG;Z)mQ=QiJ2rX53eo|W7;@
YZ-hb<G4_Q6cg0)>h0_%|6;Dr{y7#u1fs=|qi!v`&M6KeriS93rD_FCTMgcdW(?GY+}!%gNw2Qog~SNBXuv3iH_!B`)uuKs-Kvxf=)Hr~WMNuusp<IC+ts
TTt=z{G$DOY-6UGxD`Z=q#7-Ho&A<XVk{o0RC9^Pc}_mDrnOf(b0S|kT>rN{K&5O;<}b-*&`;)*s%t9<6E~1w2<Q-X>+w6IArX>`g!fbO8*;X(ZD_e;CoP
(&NTa~fB`bzv0ik5XxBMRK^+@HutV%E$N*3P3>1eAez8al_^#mY5<nQ+3Rr%yb1&fx;kLRsj0`MjX$e1DdCf}g2HK9*4>|Ip10-CtKfI%i1+{&`?cZ3*Mj
_NEI>dgN&7jgE;2L#3`BONkixRu6UuH8{r}u2@W?LCM!45;<g;g!oY%I?M+%w%1P2%9O(?^Gf17&t^zoy9<0Ag|1xN!|aYe2=x`X?Lgkd7yG<b)M%PlHn9
{nQ<2Vdgxr3ud%Ib=5p{ej%VN9MZw@1%Rv&t7KL4@nOSbDSif-Heo&RovZ>B*7nv^D|->ZmOZW{(<WD}E3m+U`9|Y#X6BvOX{IFs+Le7a5OA={t=wWXGQr
~b<pMZ}Gh_zDF6vfb1lH;d7718*0Mbe37nYAWa9nRtE2Z#anGqb*N}TIrZ7sMO?w1S*0XS?F5U!4rRG(lWr+=`GiG@<zy5nv?-%}{XmMu_)%`0;T;}Euo`
N1hET+?h8?xl{z71`j#syy-^_8ROkTWF?<v(=(t8wY1)SnVWCDG+I7-5f*as@09ni5n`V%)$n!t}T?xE+xU%DhomaBP3HR$MtBP$_CRXt}&K_p=OBuQ7Ei
vq)^{E87##B+Xj~-bI9^8hm7w?xo63cL9%?_UITwjH<<6*ZNy;vCGWj;-hNwFbO%-f8-#pI@}S;(bc=&<Ou^#|W>St7jSOlX3YyJracrct&Ys$CIoe`D9P
L&eu8rv}yyAzITXN6=#TOI?vg=mhL0bZcVCO@n?HGtSd2;p#yQe@yoVy7}^0bKk?8}$a!A#hHK!4UCQl!D$<G5h!I+_Oqc`(}?NW@7(l|paUh0RIArnvno
EKSU7Ikrm;hK2-8#vpSB5mFdtZ7ax|iZ9ACrIM9#)W+(Y%|B~!?i0j!7s#4ew<CLt+GND7H`QFVh%$-+<;x3Jg`rY-khv)18ZA_*2@Yw5LdN^-I+5}RS-Y
2KDE~Nu3_p*QaHIs>z|3-`SUf$H%B&olFK9d(lSLsU{IReD3(;8Nn^SA9w8|WSb^6jSGFAg671;<|e2WbpW-6f#37T%|UMWcWlk8o+23bEBsnle5$O4Cq9
g)n63d=p>bc=KfIBSg7pv>br-J4@Ap>ozuWd%lp+DjE{@zrT&yu-0dIpKyIoHll(c-EL?pMN8A9o_HLSZFJyzyjj5*iCFVth@^aw+Xh6Cd@@WNq|Gr0ZQO
hx4$vk->?7S*Y6BljDJ(-w>5vVLSUOzD8%m}`5U50ku@4j2(!m8<YLu-UY-WQ@RZa(R^y9Rh@Y&%=UBrl!h72^eEI!CD{=9Qad{7Lir*s{{_Ahnuh$ndH4
)wsd_pT}1Kv4msuVUO=ho=f0u15vBUoib|2Dfb{*g7bYjP+Rhg0~#Pz8UssZW9B93=n~z)s+Rm32HVq)tNkR+i!~Hc!`BH6{z->BRJ7)tXVB*Ycl61APi#
+=@Vd4Wi`mXM@DAOD_6g@SNcPS~tSr95V|9bWS+5B>%p%>F^$K01t=-4v4cXVdXf<Epw(7=d>}dVOE)q<LAAxfamx{7Yx5m{Y&t?yjAAJNzVyJbhpQ0X0R
xQJs8h_6=bj?xjbDa4-d{SH*@Z0PV4x@m6vDD_0z}CWT>!WcJGnH=J>s*@g~~jNr2>2d5ZZSC#F_8IzF*C5&xIrGI!{TH{a4g#h!EBN)VoNK2ej8nH+TRt
Zkcb(#;@`_S<j)D1WIJ16<t5CIqV!XA43oWISfhg6nKdUz}G8s6~Jc-?wGD(Sbuwr}G?L(srK1rXgY@zq@eqIbIaM%jHMBQf<~twCOJ1_4!Fc4fK-QcVwT
lVx*h{vzX@jv+?3E4_n&p-f_2ep6%^GQkJ0QXjJCDmGdqRM^gf1sDUch8)Sxcwl&+65j#6Vj_2qN!}|3dnY=|#?|SanI^8Gns~>j{-=6aqA6V!(rb9A-A6
r1&FgSfjVQ}~GL+4F!e2d&#qq6o5oq;*jkO@h8aoHWbo1NhpE4c8d^vJ>lz>gV6p28?eAyh7%BSSglVs&uFype_-7t!!aET6z?GK>6|LP#0X*p+493~L30
teeA2Z(R{UODJVCr@v!?OAWM9W~i~Y%Cd|?m{Wt)46dn*uJ<nPC#A39)lcHTu+68|Uq4<&dz=KB?!+H&tyG~r&2(3*6$`prjHIxz#hEa$aAe#O1`r)UU;N
w)u-D+wg<V^}^%IQO<ZYvSqH8vVz~!=m`*s9rfiKAK)mjIEk6nenj~Zn$pC3bBj=gvi1S%$Q@-%D5f}3>j-xK(DvMvX<wA<oh8z#-i+FNd%VA<%=_rRU=i
YLv*0k&Gn=^&7es*HyNVC&Y<5A&IGvh+eZ3THVBKC!o|*U3o`V4A^smIJHY)5_Ia>M#rn-N+G)oDYOkXO5+TN|JSBSZ74(HUx-)H<rtR2!&zUj<>-+q1GP
3=rHx*>;!PhsWT-kV9SwfX4Oe&@25L~vqM2Xs3zrLS(sDlJ3S1r)7L1v72Mxh4{y``DYZ+MT&+h)vrSTgstUT>UOR7g|8<jT@G})8U@-e7I0=?rP9fUlXH
YBeXGmwqxs$tb4VwZ=Gt}b1ZnpHY47UW3pC2|?3S3vS75%?-!g>W_87sx!tX&zbD8oujHiy5kHf5FrDsmP?@0C4Qdqx?B^-And!_I{+9B>1Sj(z5I>CJ*H
Dh`&fG}sq*5psZVE6%TA>2QbJ4i?F1<dP9=x^m_4=eY!GfI~GVAzutLE$s}(u_tJzd7$+3!h*0rIK#qT<<Y4!>P#Gt#i2r2{TQ6eF$%=qx?EEpY!zfHPj}
<#d>t#Z1R{I@=}_1MOuW2n>U}$0g#~88`h>z!H%A|(;f+uW{w~7>T&;8gJnn64AB^x~&5HwDshZ{x@E@3w(QH>HGbQ~@=%38)!BPOTnPf|%9qbDboS{T=D
!C1YP=Y|PYnVZ+HJ1KCsw}>g)Q>4Jd8`>bx>9+5vrY@=U&h>jD7T^zq0(Ry;^=dg+Q4PN>5gSAxRrK7ugYjM*sBDGyDkE9GRk3n#KAvp%ADQCvEY`kfnnr
G@puyozPy72P9cGJC%!6SW)-Y_>2)i#F~gV`tCtGTtgjpy&BcDe$DJ#~l>@`nju+fAI07D)WkBn<Qu~u73SYGRGX?j#MtthCKSrp29S33KKyEv+rz4wQpZ
&5utop8lfliINhcP+}pP2<3d6lRv?p(R^W8IPorKFVCzaymlPk)6^h%C6jU;iJk_%}QL8*sQyvwFDz_c$Z7_c;#oE)e+1beQ;i<p2I*8V<Nqd<+I`mk+P-
!8_~z(v#MWVw1hntJyNWdNjiK)yv1F*s-loG^>8-<txRqzpO31L*XB#6aMC`6LXZ-vGM6z@~R8GfrAjA^Y-87ymx_M_)-e-Pfpn>oP_a8LOc(H`BDuj?{d
ZXvt0`BUtdpikuO1!8;#!^&dD5bmzdjQW(7cknN5yc$n2n)sh$e&baQwj2j8z^S*UiRr7%El*v*t@W>54C%Y4*SE8Z>U@CrK#+Mut*oD=&s=*{vu64O`K#
sbzV-1pI9*RtA9voGfH_0+mk1jO|xtOP%B<gm7fx9PO4GzzdNV4cmsTG8h^a0m59Ml8}{)!R>7Gr{%S=@G_1hWY1Wn_CQvMXcW^S?r?rfPESx{C;6lgX0|
FE#P{VV1UO1;~qH5Z}eR2s%_R)TFbM~-s0{J(5<l>xi|RH@DE#7V2!rew=L&AXuYY8nSmQ{t5+(^mFYxe<H5-4P_DOHh;hK(0>B3{&<ekjKte#_&fJ~C>u
1s$kQ+D!e&y<AjaD-J9xGaoEMd<ppTeAs<1;umkX{<Xg6HbkcfMtY9-RR;4V6!{VBJpUNKI@rup<`Sg>xk)ySEkh&6(}Y&JiEnxQ64iNLZm@PiU}Vnf$~7
xh#!GCc(M~qcqzR(rOh$1nJ|}co6dr>lCW<^*9MmJlRigi&pPT8`65I!OO<Nb7#pA{pEtC&&C0{nmd3V{PHZ~qu6{Qq7PuF)n_cqf{S(NObYG_u6zTgnSm
4YPFg|$o;mn#0xJYSJ{zTpJ7~KzM?X0yFCTD1>I<x!QU~ttSQ^ka?`hR(WjqZSWOEFtB{CT|gk0IAm$PfX1qzmFX9jfX;DFA-mM$T3Wsek?j2{A)nmcVf(
`I0Rvmxf3@M5VC*&sJ+h@hje(nzsG(n4yI1ssffRG|EbO;_NPT>Yzy%~#1eNG=_clB-O({$K&(jvbgR2eBE8<LFc=nd4EHyCopl1)Xh`G`8dcxRW>uqi2?
9ti;9!_Ms?4n$KK~p-&&uX_iICn~5>OrX2VBn#Qt>DYR9{bxBQ|wS_SXHrRiml{0SmAP<rNfSnKg7_tI$`l29F<KRi08fp#V3+z=zI5?D$S>Rd=m=~Meu>
GxHjgzoZ&xl2vo;$3F2G<QQHr$r!wz`gZjwP=-q@oxMw28*p5?~BIg(vo!t?i73TzpiEj$rIvq{b`&vNF2}L^JTAQoy+-RWCt^_sZh9XPhdLp5hB=+9DAb
>#Z0~1(@QqbvT9!xK=z4aH3ITBpxKFHkAl4a^|?e6k(~C1wgfn%-JKDV*AQKADMwqp=t?e(vMwI245%W=Ez4i5WKlGv5kePVFI$$Y(_XokuqA1BOSVnFV1
+F4O_J4;Z)(uknirCrppPkd)!z$tPEr3P_s5S)Vdy-C4ftCYP!M0a2PlXC%eAb&h?Zp1-}m;z`__;2V0RbEYQO$!j@sGdTQGS|1!h?ZsTkih!S)mlxJroW
3za!+gR#wBU#SIOQp`4nVs#atBKm`IqXO*iNYX3H2As_XRNyB%^*TWL){Du>BrdPdl2Pr4&1~dxYpxjT*IENGM4E|#x3E+NL+4nKI4Iq!gg@lPv-pGjs3{
G^HE1fnPTWu!1~Gh!%6@p8sl%V&Gr+Y&Hu3nGB?CJ#RPJ8&QpTjV-$t~RIo*H45dO%L-A3J7~9}7$^!TKJ9G=$61ERKZ+*Sccdf%C=#FX*=4dez-*(&VY4
P_7YD&NlH?H4cXnI`IJa3&sxRb<Ub+4zN^p9*>dKV5}hemArrVVZ=kWgg@k`EnX&F6h}HY!2XIcZuovqX8b)h05|R@hPtwS7272RPgVZV#|_^3ZI3#Tk7%
wMc-~hX#c5KDiZ6-wqu6F{Q`vxvM{gSA2iQ(|zB%asxB*^IqO~41J9<PZ~=&2l?o7qh*MgBhOnW5>#HpziCh@a)fprzla<B=i2D&Vv|rz8Qw{@uNfNmnM8
rH$yCQ8jL11wUwdbPE4&N#X$7BMVJh;lK8IzxBTFlO?0*K`=#ON6&sY6S_9-@+?I#-(zJh}%-{U{c$@~2r;b-sP|J#7Q{00)=R~7&50v#WDw*RaM%->;%|
DmE9rcW6TzlK%9>lsn+XTAC-O#HMqzM{mR)kye(X}&!0H2e-r{b39(@ZqJlMz$BeN=Du%ulG$WtGLg3b?<pef2qiXPXzJ*dI<_oI4H36#PfkPfluC}FU#)
8pp6G5-ba#oYg~de`vj0!j>$7<v$YP6hhV)SEFA}UHcl>m`dICOc=YoW@Bn^iV|RhgY=b`@IYJR2t;Rugz}W+%Dq$KN$ug(Zkt#4vi({vnJX}7>0e}<`%l
F*iQNyPK^p24uD=O=l$2%DtzjxlaZ&9j`cn|x8=uTEX<Fo;U2=G?sWbg*xW&rlUG46mc&Bny{`^*Kv?mGPQpqg~!PavZ;g<$_84#ey^FCo4HT_HZRW}`1w
lrxy!7hF80Ebz_NiA^F9c?YtIA;s3as2gxzSuyGX*4M}$PGIN>SYrhac*jQd$nkbN0nGrx^8vV=s%f)6`G8l(nH0bk=r*O9lZW?hB_KLE{0^|cv?d9#35Y
>CL6!3&2A_&Umq|ezs}&*q=nO2}XGqMxZ8~ZLyzFIQG1$`T2m+%k%w~d0eApn7IowWS^>K@OWbzrmc;C|@V|B!+ERk58lCk=$%w;@}cirn5N($`3RQ0yW5
l_Lr&9m4yzs}PD5o|uj1)tyq0UJ(v@g(s13Pe?Yw_Hc>12|+l;<#G#2);Ea24RoDnOgWHQYrRa*<n32glcxJJCEYbTc2}mq`@;B;+fmB=ghj8TW!s}e?Af
-<2*gF0|ko%f?_rP&`|kkUF>;F&58v$+5o@d^1Vhwiggnf1KO0Xd;ksU-dOxDi4SaH!AEbi0}bICY+*TT+Gtebqr*p8*nA4kfZb#98AujwIjonzPrI3Lh*
z~JgFTkV@uG9^N;aQCS&<KvLokS=*gb}9#>AqA5ofX3q1oJB=E0Xeo9B+0;WJ(qA1%@cL!>Qjds5EiI*(m~TQoSUFsAtw%}f>&6pMi>Ysn@Vq#x~1EB~}$
8Zq9T4FPH7!+e)LeD(A@mv(JFEM(k={?2{B`0N{J2@jh{!Y9)%AomjsL#2n&Lwg9S*gmqtigR<gwH5fCV@*3GbTwzacM*sfI*&6iw%=h$o2f7$$J!*tTM&
p@WI!cAA{uAJuFEa<d<ph`Je@P^({Nq(hZvDrP{5Tlzn;v3aiXFrI>T76=}W^p#)3TI?3=9f+i1JBE$&*HV0=(0o~G<r=y5Zg$S{CWd}kJL*g_!F?Y$nHf
Fq5?dYp=lRUie|@|&Y(D2zbJwZUHG>HP>PM+K6RP*e(^l@)#9Fc(&%71)pLwy;=-jg7#b?1_XPW5{<?cd$Z3PW8%28s`TyP<qEXI2&%<N8sacPvYpLf}Q7
6#2Hdsd<qcQni_{KO61DUxk0SZYGA(}TFqrIM%q$I3^?%-Hk+hi(1m55JK?%)49V6U+8(G-UuJ}~&(ZS!_et@=+b}D6Rq{RNg&mm5y~ZR4GZP$K#4<~jSK
`~yz3aF3ki;LW^wAg;IGM3KNFo)mJpqdk9PaGj>KtgY80_7@2oCdc>=1A;5&`F6T)>aS-p4S3OkIPi?X*U)fF};NToKw&C>_t|b@8cbtl<PfIcMe+Yq82F
PAtCCVSwC>Ewg@dvVP;S9^b2b{oBzy&%n^)UOh>7D!I2(xpND{gxBV*s^-#y@h!d|FEE<;xtGX_2gQl-(_w?%sZmdu;i$E`u&$RQCZ0Y`KC9N6@UG{@YQ0
Xr#YSZY-E7`k{8#v3e+omX#~NZ`N{>Y?ti*}Idj(g92LB5l5m_mR?xiO!aGp{u|NQdCrzsfc?S1D@Py3T+vqBv2&Et%!Cuw?E0~npvruE0UWyvyYpZ_W6_
H#UMyvnoA>%EUShNgW5^JiBh2egkc$=%=hxrhAs11tZA0N4LZxbClA>A#AM{?}gNS6=bgUh+$?^lPvDORw@vFa3pA{iWCc0XL+YAO
"""
